#!/usr/bin/env bash
# System packages: Chromium for the browser tests, graphics libraries for the 3D simulators.
# Installs what is missing where that is allowed, else prints the commands and fails.
#
#   tools/system_packages.sh [browser] [simulators]      without a word: both
set -euo pipefail

groups="${*:-browser simulators}"
wanted=()
needs_mesa=no

# Where ldconfig lives, which an ordinary user's PATH may leave out.
PATH="$PATH:/usr/sbin:/sbin"

has_library() {
  # Read whole: grep -q would break the pipe, which pipefail takes for a failure.
  ldconfig -p 2>/dev/null | grep "$1" >/dev/null
}

has_chromium() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then
      return 0
    fi
  done
  return 1
}

# ManiSkill draws on the CPU with Mesa's Vulkan driver, from version 25 on.
has_mesa() {
  local version
  version=$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null) || return 1
  dpkg --compare-versions "$version" ge 25
}

case " $groups " in *" browser "*)
  has_chromium || wanted+=(chromium)
  ;;
esac
case " $groups " in *" simulators "*)
  has_library libEGL.so.1 || wanted+=(libegl1)
  has_library libGL.so.1 || wanted+=(libgl1)
  has_library libglib-2.0.so.0 || wanted+=(libglib2.0-0)
  has_library libvulkan.so.1 || wanted+=(libvulkan1)
  has_mesa || needs_mesa=yes
  ;;
esac
if [ ${#wanted[@]} = 0 ] && [ "$needs_mesa" = no ]; then
  exit 0
fi

run_as_root=()
if [ "$(id -u)" != 0 ]; then
  run_as_root=(sudo -n)
fi
as_root() {
  ${run_as_root[@]+"${run_as_root[@]}"} env DEBIAN_FRONTEND=noninteractive "$@"
}
if ! command -v apt-get >/dev/null 2>&1 ||
  { [ "$(id -u)" != 0 ] && ! sudo -n true >/dev/null 2>&1; }; then
  {
    echo "These system packages are missing, and this user may not install them. Run:"
    if [ ${#wanted[@]} -gt 0 ]; then
      echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${wanted[*]}"
    fi
    if [ "$needs_mesa" = yes ]; then
      echo "ManiSkill needs Mesa 25 or newer; on Debian 12, with its suite bookworm-backports:"
      echo "  sudo apt-get install -y --no-install-recommends -t bookworm-backports mesa-vulkan-drivers"
    fi
  } >&2
  exit 1
fi

quiet_install() {
  as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_mesa() {
  local candidate mirror codename key=""
  candidate=$(apt-cache policy mesa-vulkan-drivers | awk '/Candidate:/ { print $2 }')
  if dpkg --compare-versions "$candidate" ge 25; then
    quiet_install mesa-vulkan-drivers
    return
  fi
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # The mirror that this machine already uses for its own suite.
  mirror=$(apt-cache policy | awk -v suite="$codename/main" '$3 == suite { print $2; exit }')
  if [ -z "$mirror" ]; then
    echo "mesa-vulkan-drivers >= 25 is not to be had here ($candidate is); ManiSkill needs it." >&2
    return 1
  fi
  if [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    key="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
  fi
  echo "deb $key$mirror $codename-backports main" |
    as_root tee /etc/apt/sources.list.d/backports.list >/dev/null
  as_root apt-get update -qq
  quiet_install -t "$codename-backports" mesa-vulkan-drivers
}

echo "Installing system packages: ${wanted[*]-}$([ "$needs_mesa" = no ] || echo ' mesa-vulkan-drivers')"
as_root apt-get update -qq
if [ ${#wanted[@]} -gt 0 ]; then
  quiet_install "${wanted[@]}"
fi
if [ "$needs_mesa" = yes ]; then
  install_mesa
fi
