#!/usr/bin/env bash
# Builds Dockerfile.jetson without TensorRT and runs `rhythmd demo` in the image. Needs a Docker daemon, or buildah
# (as root, without any daemon). Where no registry answers, buildah builds on a stand-in made by standin.sh, kept in
# build/image/. BASE_IMAGE chooses another base, RHYTHMD_SOURCE another tree.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_tree=${RHYTHMD_SOURCE:-$(cd "$here/../.." && pwd)}
base=${BASE_IMAGE:-docker.io/library/ubuntu:22.04}
tag=rhythmd-test-image
cache=$source_tree/build/image
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step() { echo "--- $1 ($((SECONDS)) s)"; }

# A failing pip on this machine costs the private index only; the build then tries PyPI itself.
python3 "$here/pip_conf.py" "$scratch/ca_bundle" > "$scratch/pip_conf" || true
options=(--file "$source_tree/Dockerfile.jetson" --tag "$tag" --build-arg WITH_TENSORRT=0)
for secret in pip_conf ca_bundle; do
    [ -s "$scratch/$secret" ] && options+=(--secret "id=$secret,src=$scratch/$secret")
done

with_docker() {
    step "docker build on $base"
    DOCKER_BUILDKIT=1 docker build "${options[@]}" --build-arg BASE_IMAGE="$base" "$source_tree"
    step "size"
    docker image inspect --format '{{.Size}} bytes' "$tag"
    step "rhythmd demo in the image"
    docker run --rm "$tag" demo
}

with_buildah() {
    # Storage of its own: nothing of the user's images is touched, and all of it goes when the script ends.
    local buildah=(buildah --storage-driver vfs --root "$scratch/storage" --runroot "$scratch/run") container
    if ! timeout 60 "${buildah[@]}" pull --quiet "$base"; then
        step "no registry: building on a stand-in"
        [ -e "$cache/standin.tar" ] || "$here/standin.sh" "$cache/standin.tar"
        container=$("${buildah[@]}" from scratch)
        "${buildah[@]}" add --quiet "$container" "$cache/standin.tar" / >/dev/null
        base=localhost/standin:latest
        "${buildah[@]}" commit --quiet --rm "$container" "$base" >/dev/null
    fi
    step "buildah build on $base"
    "${buildah[@]}" bud --isolation chroot "${options[@]}" --build-arg BASE_IMAGE="$base" "$source_tree"
    step "size"
    container=$("${buildah[@]}" from "$tag")
    du -sh --apparent-size "$("${buildah[@]}" mount "$container")" | cut -f1
    step "rhythmd demo in the image"
    "${buildah[@]}" run --isolation chroot "$container" -- rhythmd demo
}

if docker info >/dev/null 2>&1; then
    with_docker
elif [ "$(id -u)" != 0 ]; then
    echo "no Docker daemon answers; buildah needs root: sudo make test-image" >&2
    exit 2
elif command -v buildah >/dev/null; then
    with_buildah
else
    echo "neither a Docker daemon nor buildah is here: apt-get install buildah mmdebstrap" >&2
    exit 2
fi
step "done"
