# One image for all our services. It runs `rollbook`; docker-compose.yml gives each service its arguments.
# Tags are listed in docker-library/official-images, library/python. The workflow `release` replaces the
# stage `base` by the same tag with the digest that it has looked up, which is never written by hand.
FROM python:3.13.15-slim-bookworm AS base

FROM base AS build
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv
WORKDIR /build
ENV UV_PROJECT_ENVIRONMENT=/opt/rollbook UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# Dependencies first: they change less often than the code, so this layer is usually cached.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups --extra services --extra tracing --no-install-project
COPY . .
RUN uv sync --frozen --no-default-groups --extra services --extra tracing --no-editable

FROM base
RUN useradd --create-home --uid 1000 --user-group rollbook
# All of it belongs to root: the process cannot change its own code.
COPY --from=build /opt/rollbook /opt/rollbook
ENV PATH=/opt/rollbook/bin:$PATH PYTHONUNBUFFERED=1
# A number: Kubernetes cannot tell from a name that it is not root.
USER 1000:1000
# Nothing but /tmp has to be writable: the root file system may be read-only.
WORKDIR /tmp
ENTRYPOINT ["rollbook"]
CMD ["--help"]
