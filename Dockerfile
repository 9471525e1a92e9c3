# One image for all our services. It runs `rollbook`; docker-compose.yml gives each service its arguments.
# Tags are listed in docker-library/official-images, library/python.
FROM python:3.13.15-slim-bookworm AS build
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv
WORKDIR /build
ENV UV_PROJECT_ENVIRONMENT=/opt/rollbook UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# Dependencies first: they change less often than the code, so this layer is usually cached.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups --extra services --extra tracing --no-install-project
COPY . .
RUN uv sync --frozen --no-default-groups --extra services --extra tracing --no-editable

FROM python:3.13.15-slim-bookworm
RUN useradd --create-home --uid 1000 rollbook
COPY --from=build /opt/rollbook /opt/rollbook
ENV PATH=/opt/rollbook/bin:$PATH PYTHONUNBUFFERED=1
USER rollbook
WORKDIR /tmp
ENTRYPOINT ["rollbook"]
CMD ["--help"]
