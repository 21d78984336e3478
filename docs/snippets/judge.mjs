// node judge.mjs FOLDER FACE.png …: score face crops with onnxruntime-node and sharp.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import ort from "onnxruntime-node";
import sharp from "sharp";

const [folder, ...files] = process.argv.slice(2);
const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
const session = await ort.InferenceSession.create(join(folder, manifest.files.onnx.path));
const { temperature, bias, threshold, unsure_low, unsure_high } = manifest.calibration;
const [, height, width] = manifest.inputs[0].shape;

const pixels = new Uint8Array(files.length * height * width * 3); // [N, H, W, 3] RGB
for (const [index, file] of files.entries()) {
  const { data, info } = await sharp(file).removeAlpha().toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  if (info.height !== height || info.width !== width) throw new Error(`${file}: must be ${width} × ${height} pixels`);
  pixels.set(data, index * data.length);
}
const images = new ort.Tensor("uint8", pixels, [files.length, height, width, 3]);
const { logit: logits } = await session.run({ images });
for (const [index, file] of files.entries()) {
  const logit = logits.data[index];
  const p_fake = 1 / (1 + Math.exp(-(logit / temperature + bias)));
  const unsure = unsure_low <= p_fake && p_fake < unsure_high;
  const verdict = unsure ? "unsure" : p_fake >= threshold ? "fake" : "real";
  console.log(JSON.stringify({ file, logit, p_fake, verdict }));
}
