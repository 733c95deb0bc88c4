#!/usr/bin/env bash
# Install into a virtual environment, and show how far it is: install.sh PYTHON_OF_THE_VENV CONSTRAINTS EXTRAS
set -euo pipefail
python=$1 constraints=$2 extras=$3
venv=$(dirname "$(dirname "$python")")
log=$venv/install.log
case $extras in
*dev*) size="3.5 GB to download, 6.3 GB on disk" ;;
*) size="2.9 GB to download, 5.5 GB on disk, most of it torch with its CUDA libraries" ;;
esac
echo "installing Thalweg with [$extras] and what it needs into $venv: $size; once"
"$python" -m pip install --progress-bar off --disable-pip-version-check -c "$constraints" -e ".[$extras]" >"$log" 2>&1 &
pip=$!
trap 'kill $pip 2>/dev/null || true' INT TERM
begun=$SECONDS
while sleep "${INSTALL_SHOW_SECONDS:-5}" && kill -0 $pip 2>/dev/null; do
    last=$(grep -E '^ *(Collecting|Downloading|Using cached|Building|Installing)' "$log" | tail -n 1 | sed -E 's/^ +//' | cut -c1-70)
    printf '  %4d s  %5s MB  %s\n' $((SECONDS - begun)) "$(du -sm "$venv" | cut -f1)" "$last"
done
if ! wait $pip; then
    tail -n 20 "$log" >&2
    echo "the installation failed after $((SECONDS - begun)) s; all that pip said is in $log" >&2
    exit 1
fi
echo "installed in $((SECONDS - begun)) s: $(du -sm "$venv" | cut -f1) MB in $venv"
