# One non-interactive run of Codex, with a provider as its configuration names one.
prompt=$2
mkdir -p "$HOME/.codex"
cat >"$HOME/.codex/config.toml" <<T
model = "gpt-fake"
model_provider = "api"
[model_providers.api]
name = "api"
base_url = "${BASE:-https://api.openai.com}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
T
"$CODEX" exec --skip-git-repo-check "$prompt" </dev/null
