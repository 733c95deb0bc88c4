#!/usr/bin/env bash
# Install into a virtual environment, and show how far it is: install.sh PYTHON_OF_THE_VENV CONSTRAINTS EXTRAS
set -euo pipefail
python=$1 constraints=$2 extras=$3
venv=$(dirname "$(dirname "$python")")
log=$venv/install.log
case $extras in
*dev*) size="3.5 GB to download, 6.3 GB on disk" needed_mb=9800 ;;
*) size="2.9 GB to download, 5.5 GB on disk, most of it torch with its CUDA libraries" needed_mb=8400 ;;
esac

# What pip unpacks lies beside what it has downloaded, until all is installed: too little room is told before the wait.
free_mb() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }
has_mb=$(($(du -sm "$venv" | cut -f1) + $(free_mb "$venv")))
if [ "$has_mb" -lt $needed_mb ]; then
    echo "warning: installing takes up to $needed_mb MB for a while, and $venv has $has_mb MB; it may fail for want of room" >&2
fi
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
    if grep -q "No space left on device" "$log"; then
        echo "the disk is full: up to $needed_mb MB are needed for a while; $(free_mb "$venv") MB are free for $venv," \
            "$(free_mb "${TMPDIR:-/tmp}") MB for pip's downloads in ${TMPDIR:-/tmp} (TMPDIR names another place)" >&2
    fi
    echo "the installation failed after $((SECONDS - begun)) s; all that pip said is in $log" >&2
    exit 1
fi
echo "installed in $((SECONDS - begun)) s: $(du -sm "$venv" | cut -f1) MB in $venv"
