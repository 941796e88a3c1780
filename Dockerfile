# The README's two commands where there is no compiler but the one that the extra brings:
#     docker build --tag spikingtorch . && docker run spikingtorch make train
#     docker run spikingtorch make test
FROM python:3.13-slim
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
# PyTorch for the CPU alone
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1
WORKDIR /spikingtorch
COPY . .
RUN make .venv/.dev .venv/.examples .venv/.compiler
CMD ["make", "train"]
