#!/usr/bin/env bash
# A study travels through a DVC remote, shown with a tiny one in a temporary folder: what git tracks
# is copied, the repository, its results and its configuration are left alone. Called by
# `make demo-remote`.
set -euo pipefail
cd "$(dirname "$0")/.."
demo="$(mktemp -d)"
trap 'rm -rf "$demo"' EXIT
export DVC_GLOBAL_CONFIG_DIR="$demo/config" DVC_SITE_CACHE_DIR="$demo/site" DVC_NO_ANALYTICS=1

say() { printf '\n== %s\n' "$*"; }
shown() { printf '$ %s\n' "$*"; "$@"; }

say "A copy of the repository with two short runs"
mkdir "$demo/ours"
git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$demo/ours"
cd "$demo/ours"
rm -f dvc.lock
python - <<'PYTHON'
import yaml

params = yaml.safe_load(open("params.yaml"))
quick = params["presets"]["quick"]
quick |= {"densities": [0.2], "inits": ["erk"], "growths": ["random", "gradient"], "seeds": [0]}
quick |= {"extra": [], "training": quick["training"] | {"epochs": 3}}
with open("params.yaml", "w") as file:
    yaml.safe_dump(params, file, sort_keys=False)
PYTHON
export PYTHONPATH="$PWD/src"
git init --quiet
git config user.name demo
git config user.email demo@localhost
git add --all
git commit --quiet --message "A tiny study"

say "Make it, and commit what DVC remembers"
shown dvc repro --quiet
shown git add dvc.lock
shown git commit --quiet --message "Its results"

say "A remote is one command; here a folder, elsewhere s3://, ssh://, gs://, ..."
shown dvc remote add --global --default storage "$demo/remote"
shown dvc push

say "Somebody else clones, pulls, and has everything: nothing is to be done"
shown git clone --quiet "$demo/ours" "$demo/theirs"
cd "$demo/theirs"
export PYTHONPATH="$PWD/src"
shown dvc pull --quiet
shown snakemake --dry-run
shown dvc metrics show --md

say "Done; the temporary folder is removed"
