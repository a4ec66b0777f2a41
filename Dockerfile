# syntax=docker/dockerfile:1
# The command `capably`, which serves by default: see docs/operating.md.

FROM rust:1-slim-bookworm AS build
WORKDIR /source
COPY . .
# The caches make a second build fast. The program is copied out of them, as they are no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --profile dist --package capably-cli \
    && cp target/dist/capably /usr/local/bin/capably

FROM debian:bookworm-slim
# wget is for the health check. CA certificates are for brokers with TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin capably \
    && install --directory --owner=capably --group=capably /data
COPY --from=build /usr/local/bin/capably /usr/local/bin/capably
USER capably
VOLUME ["/data"]
EXPOSE 8080
# `docker stop` drains the server, which takes 20 seconds by default.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["wget", "--quiet", "--output-document=-", "http://127.0.0.1:8080/health/live"]
ENTRYPOINT ["capably"]
CMD ["serve", "--bind", "0.0.0.0", "--data", "/data"]
