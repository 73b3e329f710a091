#!/usr/bin/env bash
# Creates .venv with the pinned packages. Does nothing if lock and project file are unchanged.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.installed
wanted=$(cat requirements.lock pyproject.toml tools/setup.sh | cksum)
if [ -x .venv/bin/reverie ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

find_python() {
  local name
  for name in "${PYTHON:-}" python3.11 python3.12 python3 python; do
    [ -n "$name" ] || continue
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
      >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
}

python=$(find_python)
if [ -z "$python" ]; then
  echo "Reverie needs Python 3.11 or 3.12, and found neither on PATH." >&2
  echo "Install one (Debian: apt-get install python3.11 python3.11-venv), or name it:" >&2
  echo "  make setup PYTHON=/path/to/python3.11" >&2
  exit 1
fi

if ! .venv/bin/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
  >/dev/null 2>&1; then
  echo "Creating .venv with $("$python" --version)"
  if ! "$python" -m venv --clear .venv; then
    echo "This Python cannot make virtual environments (Debian: apt-get install python3-venv)." >&2
    exit 1
  fi
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check)
echo "Installing $(grep -c == requirements.lock) pinned packages (minutes on the first run)"
log=.venv/install.log
show_names() {
  local word name rest
  while read -r word name rest; do
    case "$word" in
      Collecting) echo "  $name" ;;
      Installing) echo "  writing files" ;;
    esac
  done
}
# The lock is complete, so nothing is looked up. Where torch comes as a CUDA build, the second
# line adds its libraries; the CPU build has none.
torch=$(grep '^torch==' requirements.lock)
if ! {
  "${pip[@]}" install --progress-bar off --no-deps -r requirements.lock &&
    "${pip[@]}" install --progress-bar off "$torch"
} 2>&1 | tee "$log" | show_names; then
  echo "The installation failed; the end of $log says why:" >&2
  tail -n 25 "$log" >&2
  exit 1
fi
"${pip[@]}" install --quiet --no-deps --no-build-isolation -e .
if ! bash tools/system_packages.sh simulators; then
  echo "Everything but the 3D simulators works without them." >&2
fi
echo "$wanted" >"$stamp"
echo "Ready: .venv/bin/reverie"
