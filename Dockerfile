# docker build -t dfbench . && docker run --rm -v "$PWD/photos:/in:ro" dfbench predict /in
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels . ./plugins/deepfake-lite ./plugins/deepfake-unet

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels deepfake-core deepfake-lite deepfake-unet \
    && useradd --create-home dfbench
USER dfbench
WORKDIR /home/dfbench
ENTRYPOINT ["dfbench"]
CMD ["run", "--device", "cpu"]
