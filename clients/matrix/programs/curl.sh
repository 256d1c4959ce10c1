# curl as in the vendor's own examples.
how=$1 prompt=$2
body=$(printf '{"model":"gpt-fake","stream":%s,"messages":[{"role":"user","content":"%s"}]}' "$([ "$how" = stream ] && echo true || echo false)" "$prompt")
curl -sS -N --fail-with-body "${BASE:-https://api.openai.com}/v1/chat/completions" \
	-H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' -d "$body"
