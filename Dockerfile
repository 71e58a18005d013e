# All programs of this repository in one small image: mqttlb, which it starts, and the others beside it.
#
# Build; the arguments are for who has a registry, a module proxy or a mirror of his own:
#
#	docker build -t mqttlb .
#	docker build -t mqttlb --build-arg GO_IMAGE=registry.example/golang:1.26-bookworm \
#		--build-arg BASE_IMAGE=registry.example/distroless/static-debian12:nonroot \
#		--build-arg GOPROXY=https://proxy.example --build-arg VERSION=1.2.3 .
#
# Run. Each connection takes two descriptors, so the limit decides how many there can be. Nothing is ever written to
# the file system but a node's data_dir. Mount the folder and not the file: a file that is replaced is not seen through its own mount.
#
#	docker run -d --name mqttlb --ulimit nofile=1048576:1048576 --read-only --cap-drop ALL \
#		--security-opt no-new-privileges -p 8883:8883 -p 1883:1883 -p 127.0.0.1:8404:8404 \
#		-v /etc/mqttlb:/etc/mqttlb:ro mqttlb
#
# The user is 65532, who has to be able to read the keys there. A published port reaches the admin API only when
# admin.listen is ":8404", and what it may do then wants admin.token_file; or leave it on loopback:
#
#	docker exec mqttlb mqttlb status
#	docker exec mqttlb mqttlb reload
#
# Another program of the image, and what this one would say to a configuration:
#
#	docker run --entrypoint mqttbroker mqttlb run
#	docker run --rm -v /etc/mqttlb:/etc/mqttlb:ro mqttlb check -c /etc/mqttlb/mqttlb.yaml
#
# A node with "data_dir: /data" in its configuration; user 65532 has to be able to write to /srv/mqttbroker:
#
#	docker run -d --ulimit nofile=1048576:1048576 --read-only --cap-drop ALL --security-opt no-new-privileges -p 1883:1883 \
#		-v /etc/mqttbroker:/etc/mqttbroker:ro -v /srv/mqttbroker:/data --entrypoint mqttbroker mqttlb run -c /etc/mqttbroker/mqttbroker.yaml

ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${GO_IMAGE} AS build
# Where modules come from and are looked up, and GOFLAGS=-buildvcs=false for who builds without a whole .git; the go
# command takes all three from its environment.
ARG GOPROXY
ARG GOSUMDB
ARG GOFLAGS
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src

# Modules change seldom: this layer stays when only our own files change.
COPY go.mod go.sum ./
RUN go mod download

# Whatever is below cmd becomes a program; .git is there for the commit that `mqttlb version` tells.
COPY . .
RUN go build -trimpath -ldflags="-s -w" -o /out/ ./cmd/...

FROM ${BASE_IMAGE}
# Labels of the image only: what `mqttlb version` tells comes from .git, by the go command.
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mqttlb" \
      org.opencontainers.image.description="TLS-terminating Layer-4 load balancer for MQTT, and broker nodes" \
      org.opencontainers.image.source="https://github.com/mqttlb/mqttlb" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /out/ /usr/local/bin/

# By number: an orchestrator that is told to refuse root (runAsNonRoot) does not know names.
USER 65532:65532

# MQTT over TLS, MQTT, the load balancer's admin API; MQTT over WebSocket, and a node's API and dashboard.
EXPOSE 8883 1883 8404 8083 8080 18083

# SIGTERM lets sessions end for up to shutdown_timeout, 30 s by default: give the container longer (docker stop -t 40).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/mqttlb"]
CMD ["run", "-c", "/etc/mqttlb/mqttlb.yaml"]
