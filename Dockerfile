# The command nacl-monai with what it needs:  docker build --tag nacl-monai .
# apptainer.def has the same base, files, installation and environment; a test compares them.
FROM python:3.11-slim-bookworm

WORKDIR /opt/nacl_monai
COPY bundles bundles
COPY demo demo
COPY nacl_monai nacl_monai
COPY workflow workflow
COPY LICENSE README.md constraints.txt pyproject.toml requirements.txt setup.py ./

RUN python -m pip install --no-cache-dir --constraint constraints.txt '.[transunet]'

# Whoever runs it may have no home.
ENV MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --create-home nacl
USER nacl
WORKDIR /home/nacl
ENTRYPOINT ["nacl-monai"]
CMD ["--help"]
