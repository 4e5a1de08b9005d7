# docker build -t qframe .                                              CPU
# docker build -t qframe --build-arg TORCH_INDEX= .                     CUDA, with the wheels of PyPI
# docker run --rm -v "$PWD/outputs:/runs/outputs" qframe train experiment=cartpole_dqn
FROM python:3.11-slim

# Where torch comes from; an empty value takes PyPI's wheels, which hold CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras to install, such as "[atari,minatar]".
ARG EXTRAS=""

# The C++ compiler serves compile=auto and the native sums of priorities; without one both run in Python.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

WORKDIR /qframe
COPY constraints.txt .
RUN torch="$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir "$torch" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY pyproject.toml README.md LICENSE ./
COPY qframe qframe
COPY hydra_plugins hydra_plugins
COPY conf conf
RUN pip install --no-cache-dir -c constraints.txt ".${EXTRAS}"

WORKDIR /runs
ENTRYPOINT ["qframe"]
CMD ["--help"]
