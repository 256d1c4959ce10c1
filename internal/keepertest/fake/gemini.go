package fake

import (
	"net/http"
	"strings"
)

func (a *answer) gemini() {
	at := strings.LastIndexByte(a.rec.Path, '/')
	model, action, _ := strings.Cut(a.rec.Path[at+1:], ":")
	if a.r.Method != http.MethodPost {
		a.json(a.status(), object{"models": []any{object{"name": "models/gemini-fake", "description": a.text()}}})
		return
	}
	switch action {
	case "generateContent":
		a.json(a.status(), candidates(model, a.text(), "STOP"))
	case "streamGenerateContent":
		a.generateStream(model)
	case "countTokens":
		a.json(a.status(), object{"totalTokens": 7})
	case "embedContent":
		a.json(a.status(), object{"embedding": object{"values": []float64{0.5, -0.25, 0.125}}})
	default:
		a.fail(http.StatusNotFound)
	}
}

func candidates(model, text string, finish any) object {
	candidate := object{"content": object{"role": "model", "parts": []any{object{"text": text}}}, "index": 0}
	if finish != nil {
		candidate["finishReason"] = finish
	}
	return object{
		"candidates": []any{candidate}, "modelVersion": model,
		"usageMetadata": object{"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10},
	}
}

// generateStream ends its lines with CRLF and has no last event of its own, as
// the real API. Without alt=sse the real one sends an array.
func (a *answer) generateStream(model string) {
	pieces := a.pieces()
	if a.r.URL.Query().Get("alt") != "sse" {
		a.json(a.status(), []any{candidates(model, strings.Join(pieces, ""), "STOP")})
		return
	}
	for i, piece := range pieces {
		var finish any
		if i == len(pieces)-1 {
			finish = "STOP"
		}
		a.data("", candidates(model, piece, finish), "\r\n")
	}
	a.end()
}
