# A static program in an empty image, run by nobody in particular. Build: docker build -t waystation .
# Run: docker run -p 8080:8080 -v waystation:/data waystation --plain-http
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# What is linked statically is the C library too: the image has none.
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --profile dist --target x86_64-unknown-linux-gnu \
    && mkdir -p /image/data /image/tmp /image/etc/ssl/certs \
    && cp target/x86_64-unknown-linux-gnu/dist/waystation /image/waystation \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && chown -R 65532:65532 /image/data

FROM scratch
COPY --from=build /image /
USER 65532:65532
VOLUME /data
EXPOSE 8080
# Where buckets are reached by TLS, their certificates are checked against these.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENV WAYSTATION_STORE=/data/store WAYSTATION_LISTEN=0.0.0.0:8080
ENTRYPOINT ["/waystation", "serve"]
