package fake

import (
	"encoding/json"
	"net/http"
)

func (a *answer) anthropic() {
	if a.r.Header.Get("Anthropic-Version") == "" {
		a.json(http.StatusBadRequest, failureBody("anthropic", http.StatusBadRequest, "anthropic-version: header is required"))
		return
	}
	var asked struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
	}
	if a.r.Method == http.MethodPost && json.Unmarshal(a.rec.Body, &asked) != nil {
		a.fail(http.StatusBadRequest)
		return
	}
	switch a.r.Method + " " + a.rec.Path {
	case "POST /v1/messages":
		a.messages(asked.Model, asked.Stream)
	case "POST /v1/messages/count_tokens":
		a.json(a.status(), object{"input_tokens": 7})
	case "GET /v1/models":
		model := object{"type": "model", "id": "claude-fake", "display_name": a.text(), "created_at": "2025-10-09T00:00:00Z"}
		a.json(a.status(), object{"data": []any{model}, "has_more": false, "first_id": "claude-fake", "last_id": "claude-fake"})
	default:
		a.fail(http.StatusNotFound)
	}
}

func (a *answer) messages(model string, stream bool) {
	id := "msg_" + random(base62, 24)
	if stream {
		a.messagesStream(id, model)
		return
	}
	block := object{"type": "text", "text": a.text()}
	if a.s["shape"] == "tool" {
		block = object{"type": "tool_use", "id": "toolu_1", "name": "say", "input": object{"text": a.text()}}
	}
	a.json(a.status(), message(id, model, []any{block}, "end_turn"))
}

func message(id, model string, content []any, stop any) object {
	return object{
		"id": id, "type": "message", "role": "assistant", "model": model, "content": content,
		"stop_reason": stop, "stop_sequence": nil, "usage": object{"input_tokens": 7, "output_tokens": 5},
	}
}

func (a *answer) messagesStream(id, model string) {
	send := func(kind string, fields object) {
		fields["type"] = kind
		a.data(kind, fields, newline)
	}
	block, kind, field, pieces := object{"type": "text", "text": ""}, "text_delta", "text", a.pieces()
	if a.s["shape"] == "tool" {
		block = object{"type": "tool_use", "id": "toolu_1", "name": "say", "input": object{}}
		kind, field, pieces = "input_json_delta", "partial_json", a.toolPieces()
	}
	send("message_start", object{"message": message(id, model, []any{}, nil)})
	send("content_block_start", object{"index": 0, "content_block": block})
	send("ping", object{})
	for _, piece := range pieces {
		send("content_block_delta", object{"index": 0, "delta": object{"type": kind, field: piece}})
	}
	send("content_block_stop", object{"index": 0})
	send("message_delta", object{"delta": object{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": object{"output_tokens": 5}})
	send("message_stop", object{})
	a.end()
}
