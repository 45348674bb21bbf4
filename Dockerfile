# A static program in an empty image, run by nobody in particular. Build: docker build -t waystation .
# Run: docker run -p 8080:8080 -v waystation:/data waystation --plain-http
# With -t it prints its first API token. Without, or for another: docker exec CONTAINER /waystation token create NAME
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The C library is linked in too: the image has none. A target is named, even if it is this machine, so that what
# runs only while building is not linked like that, which macros cannot be.
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --target "$(rustc --print host-tuple)"
RUN packaging/lay-out-image target/*/dist/waystation /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
VOLUME /data
EXPOSE 8080
# The certificates of buckets are checked against these; without any, no bucket can be used, not even by plain HTTP.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENV WAYSTATION_STORE=/data/store WAYSTATION_LISTEN=0.0.0.0:8080
ENTRYPOINT ["/waystation", "serve"]
