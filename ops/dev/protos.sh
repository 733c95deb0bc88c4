#!/usr/bin/env bash
# Generates proto/*_pb2*.py from proto/*.proto; with --check, fails when the committed ones differ.
set -eu
cd "$(dirname "$0")/../.."
out=.
if [ "${1:-}" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
.venv/bin/python -m grpc_tools.protoc -I. "--python_out=$out" "--grpc_python_out=$out" "--pyi_out=$out" \
    thalweg/proto/inference.proto thalweg/proto/thalweg.proto
if [ "${1:-}" = --check ]; then
    for made in "$out"/thalweg/proto/*_pb2*; do
        cmp -s "$made" "proto/$(basename "$made")" || { echo "proto/$(basename "$made") is not current; run: make protos" >&2; exit 1; }
    done
fi
