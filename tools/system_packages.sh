#!/usr/bin/env bash
# The browser tests need Chromium. Installs it where that is allowed, else says how.
set -euo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null 2>&1; then
    exit 0
  fi
done

run_as_root=()
if [ "$(id -u)" != 0 ]; then
  run_as_root=(sudo -n)
fi
if command -v apt-get >/dev/null 2>&1 &&
  { [ "$(id -u)" = 0 ] || sudo -n true >/dev/null 2>&1; }; then
  echo "Installing chromium for the browser tests"
  ${run_as_root[@]+"${run_as_root[@]}"} apt-get update -qq
  ${run_as_root[@]+"${run_as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
  exit 0
fi

echo "The browser tests need Chromium, which this user may not install. Run:" >&2
echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends chromium" >&2
exit 1
