package fake

import (
	"encoding/json"
	"net/http"
)

const (
	newline = "\n"
	created = 1_760_000_000 // a fixed moment
)

// object is a JSON object in the making.
type object = map[string]any

func (a *answer) openai() {
	var asked struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
	}
	if a.r.Method == http.MethodPost && json.Unmarshal(a.rec.Body, &asked) != nil {
		a.fail(http.StatusBadRequest)
		return
	}
	switch a.r.Method + " " + a.rec.Path {
	case "POST /v1/chat/completions":
		a.chat(asked.Model, asked.Stream)
	case "POST /v1/responses":
		a.responses(asked.Model, asked.Stream)
	case "POST /v1/embeddings":
		vector := object{"object": "embedding", "index": 0, "embedding": []float64{0.5, -0.25, 0.125}}
		a.json(a.status(), object{"object": "list", "data": []any{vector}, "model": asked.Model, "usage": object{"prompt_tokens": 3, "total_tokens": 3}})
	case "GET /v1/models":
		a.json(a.status(), object{"object": "list", "data": []any{
			object{"id": "gpt-fake", "object": "model", "created": created, "owned_by": a.text()},
		}})
	default:
		a.fail(http.StatusNotFound)
	}
}

func (a *answer) chat(model string, stream bool) {
	id := "chatcmpl-" + random(base62, 29)
	if stream {
		a.chatStream(id, model)
		return
	}
	message := object{"role": "assistant", "content": a.text(), "refusal": nil}
	if a.s["shape"] == "tool" {
		message = object{"role": "assistant", "content": nil, "tool_calls": []any{
			object{"id": "call_1", "type": "function", "function": object{"name": "say", "arguments": a.arguments()}},
		}}
	}
	a.json(a.status(), object{
		"id": id, "object": "chat.completion", "created": created, "model": model,
		"choices": []any{object{"index": 0, "message": message, "logprobs": nil, "finish_reason": "stop"}},
		"usage":   object{"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
	})
}

// arguments are a tool call's: a JSON document in a string.
func (a *answer) arguments() string {
	text, err := marshal(object{"text": a.text()})
	if err != nil {
		return "{}"
	}
	return string(text)
}

// toolPieces are the same document in deltas.
func (a *answer) toolPieces() []string {
	return append(append([]string{`{"text":"`}, a.pieces()...), `"}`)
}

func (a *answer) chatStream(id, model string) {
	send := func(delta object, finish any) {
		a.data("", object{
			"id": id, "object": "chat.completion.chunk", "created": created, "model": model,
			"choices": []any{object{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}},
		}, newline)
	}
	send(object{"role": "assistant", "content": ""}, nil)
	if a.s["shape"] == "tool" {
		send(object{"tool_calls": []any{object{"index": 0, "id": "call_1", "type": "function", "function": object{"name": "say", "arguments": ""}}}}, nil)
		for _, piece := range a.toolPieces() {
			send(object{"tool_calls": []any{object{"index": 0, "function": object{"arguments": piece}}}}, nil)
		}
	} else {
		for _, piece := range a.pieces() {
			send(object{"content": piece}, nil)
		}
	}
	send(object{}, "stop")
	a.event("data: [DONE]\n\n")
	a.end()
}

func (a *answer) responses(model string, stream bool) {
	id, item := "resp_"+random(base62, 40), "msg_"+random(base62, 40)
	if stream {
		a.responsesStream(id, item, model)
		return
	}
	a.json(a.status(), response(id, item, model, "completed", a.text()))
}

func response(id, item, model, status, text string) object {
	output := []any{}
	if status == "completed" {
		output = append(output, outputItem(item, status, text))
	}
	return object{
		"id": id, "object": "response", "created_at": created, "status": status, "model": model, "output": output,
		"error": nil, "incomplete_details": nil, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true,
		"temperature": 1, "tool_choice": "auto", "tools": []any{}, "top_p": 1,
		"usage": object{"input_tokens": 5, "output_tokens": 5, "total_tokens": 10},
	}
}

func outputItem(item, status, text string) object {
	content := []any{}
	if status == "completed" {
		content = append(content, part(text))
	}
	return object{"id": item, "type": "message", "role": "assistant", "status": status, "content": content}
}

func part(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}}
}

func (a *answer) responsesStream(id, item, model string) {
	sequence := 0
	send := func(kind string, fields object) {
		fields["type"], fields["sequence_number"] = kind, sequence
		sequence++
		a.data(kind, fields, newline)
	}
	place := func(fields object) object {
		fields["item_id"], fields["output_index"], fields["content_index"] = item, 0, 0
		return fields
	}
	send("response.created", object{"response": response(id, item, model, "in_progress", "")})
	send("response.in_progress", object{"response": response(id, item, model, "in_progress", "")})
	send("response.output_item.added", object{"output_index": 0, "item": outputItem(item, "in_progress", "")})
	send("response.content_part.added", place(object{"part": part("")}))
	for _, piece := range a.pieces() {
		send("response.output_text.delta", place(object{"delta": piece, "logprobs": []any{}}))
	}
	text := a.text()
	send("response.output_text.done", place(object{"text": text, "logprobs": []any{}}))
	send("response.content_part.done", place(object{"part": part(text)}))
	send("response.output_item.done", object{"output_index": 0, "item": outputItem(item, "completed", text)})
	send("response.completed", object{"response": response(id, item, model, "completed", text)})
	a.end()
}
