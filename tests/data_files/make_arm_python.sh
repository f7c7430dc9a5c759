#!/usr/bin/env bash
# An aarch64 Python with onnxruntime in FOLDER, for qemu-aarch64-static: Debian's packages, PyPI's wheels.
#   make_arm_python.sh FOLDER ONNXRUNTIME_VERSION        (needs root: it adds a foreign architecture for a while)
set -euo pipefail
folder=$1 version=$2
mkdir -p "$folder/packages"
trap 'dpkg --remove-architecture arm64' EXIT
dpkg --add-architecture arm64
apt-get update -qq
cd "$folder/packages"
apt-get download -qq {python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib,libc6,zlib1g,libexpat1,libssl3}:arm64 \
  {libstdc++6,libgcc-s1,libffi8,libbz2-1.0,liblzma5,libgomp1}:arm64
for package in *.deb; do dpkg-deb -x "$package" "$folder/root"; done
python -m pip install --quiet --no-deps --only-binary=:all: --python-version 3.11 --target "$folder/site" \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
  --platform manylinux2014_aarch64 "onnxruntime==$version" "numpy==1.26.4" pillow flatbuffers packaging protobuf
