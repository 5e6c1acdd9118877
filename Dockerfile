# The image of both programs: the streamer, with restore and every other command, and the operator.
#
#   docker build --tag strimzi-backup .        amd64 or arm64, whichever builds it
#
# The last stage takes what `binaries` holds: the tests build it as it is here from programs that they have built anyway.
ARG RUST=docker.io/library/rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
# librdkafka is built with its own configure and make, and needs the headers of OpenSSL; the image of Rust has them all.
WORKDIR /build
COPY . .
RUN cargo build --locked --release --package strimzi-backup-streamer --package strimzi-backup-operator --bins \
    && mkdir /binaries \
    && strip --strip-debug -o /binaries/strimzi-backup target/release/strimzi-backup \
    && strip --strip-debug -o /binaries/strimzi-backup-operator target/release/strimzi-backup-operator

FROM scratch AS binaries
COPY --from=build /binaries/ /

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="strimzi-backup" \
      org.opencontainers.image.description="Continuous backup of Kafka topics into object storage, and restore" \
      org.opencontainers.image.source="https://github.com/kafkabackup/strimzi-backup-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binaries /strimzi-backup /strimzi-backup-operator /usr/local/bin/
# By number: Kubernetes proves `runAsNonRoot` by it alone.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/strimzi-backup"]
CMD ["--help"]
