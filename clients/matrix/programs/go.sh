exec "$GO_CLIENT" "$1" "$2" "${BASE:-https://api.openai.com}" "$OPENAI_API_KEY"
