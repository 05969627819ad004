# Builds with the classic builder and with BuildKit.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY filter filter
COPY greylist greylist
COPY policy policy
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X mailwicket/cmd/mailwicket/internal/cli.version=$VERSION" -o /out/mailwicket ./cmd/mailwicket \
 && mkdir -p /out/data

# Nothing but the program: no shell, no user to become.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/data /var/lib/mailwicket
COPY --from=build /out/mailwicket /mailwicket
USER 65532:65532
VOLUME /var/lib/mailwicket
EXPOSE 8891 9891
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 CMD ["/mailwicket", "healthcheck"]
ENTRYPOINT ["/mailwicket"]
CMD ["serve"]
