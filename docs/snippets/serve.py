"""python serve.py [PORT]: judge each picture that is posted, as in: curl --data-binary @photo.jpg localhost:8000."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import deepfake_core as df

LARGEST = 32_000_000  # bytes of a request
detector = df.load("lite")


class Judge(BaseHTTPRequestHandler):
    """Answers a posted picture with the result as JSON."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST:
            self.send_error(413)
            return
        result = detector.predict(self.rfile.read(length), max_faces=20)
        answer = json.dumps(result.to_dict()).encode()
        self.send_response(422 if result.verdict == "error" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with ThreadingHTTPServer(("127.0.0.1", port), Judge) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
