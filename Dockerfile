# The one image of the pipeline: every process is a command of `salesviews`. Kafka and Java are not in it.
#
#   docker build -t salesviews .
#   docker run --read-only --tmpfs /tmp -v salesviews:/data salesviews views

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.13-slim-trixie AS build
COPY --from=uv /uv /bin/
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON=/opt/salesviews/bin/python
WORKDIR /source

# The packages change seldom, the program often: a layer for each. The lock holds versions and hashes of all packages,
# also those of developers; what is installed of it is what pyproject.toml asks for.
COPY pyproject.toml requirements.lock ./
RUN uv venv --python /usr/local/bin/python3 /opt/salesviews \
    && uv pip install --require-hashes --only-binary :all: --constraints requirements.lock --requirements pyproject.toml
COPY . .
RUN uv pip install --no-deps --build-constraints requirements.lock .

FROM python:3.13-slim-trixie
COPY --from=build /opt/salesviews /opt/salesviews
ENV PATH=/opt/salesviews/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SALESVIEWS_HOME=/data
# Numbers, as Kubernetes can tell only of a number that it is not root. A new volume takes the folder's owner.
RUN install -d -o 10001 -g 10001 /data
USER 10001:10001
VOLUME /data
ENTRYPOINT ["salesviews"]
CMD ["--help"]
