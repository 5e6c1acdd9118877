# Stands in for gcr.io/distroless/cc-debian12, which a machine without that registry cannot have: the same packages of
# Debian, without a shell or a package manager.
FROM scratch
COPY rootfs /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532
WORKDIR /home/nonroot
