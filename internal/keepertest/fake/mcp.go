package fake

import (
	"encoding/json"
	"net/http"
)

// mcp is a server of the Model Context Protocol over streamable HTTP
// (https://modelcontextprotocol.io/specification/2025-06-18/basic/transports).
// It has two tools: say answers in JSON, tell in a stream of events with progress
// before the result. It gives no stream to GET.
func (a *answer) mcp() {
	var asked struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			ProtocolVersion string `json:"protocolVersion"`
			Name            string `json:"name"`
			Meta            struct {
				ProgressToken json.RawMessage `json:"progressToken"`
			} `json:"_meta"`
		} `json:"params"`
	}
	switch {
	case a.r.Method == http.MethodDelete:
		a.plain(http.StatusOK, "", nil)
	case a.r.Method != http.MethodPost:
		a.w.Header().Set("Allow", "POST, DELETE")
		a.fail(http.StatusMethodNotAllowed)
	case json.Unmarshal(a.rec.Body, &asked) != nil:
		a.fail(http.StatusBadRequest)
	case asked.ID == nil:
		a.plain(http.StatusAccepted, "", nil)
	case asked.Method == "tools/call" && asked.Params.Name == "tell":
		a.told(asked.ID, asked.Params.Meta.ProgressToken)
	default:
		a.rpc(asked.ID, asked.Method, asked.Params.ProtocolVersion)
	}
}

func (a *answer) rpc(id json.RawMessage, method, version string) {
	var result object
	switch method {
	case "initialize":
		a.w.Header().Set("Mcp-Session-Id", random(base62, 24))
		result = object{
			"protocolVersion": version, "capabilities": object{"tools": object{}},
			"serverInfo": object{"name": "fake", "version": "1.0.0"},
		}
	case "tools/list":
		schema := object{"type": "object", "properties": object{"text": object{"type": "string"}}}
		result = object{"tools": []any{
			object{"name": "say", "description": a.text(), "inputSchema": schema},
			object{"name": "tell", "description": "Says it in pieces.", "inputSchema": schema},
		}}
	case "tools/call":
		result = toolResult(a.text())
	case "ping":
		result = object{}
	default:
		a.json(http.StatusOK, object{"jsonrpc": "2.0", "id": id, "error": object{"code": -32601, "message": "Method not found"}})
		return
	}
	a.json(a.status(), object{"jsonrpc": "2.0", "id": id, "result": result})
}

func toolResult(text string) object {
	return object{"content": []any{object{"type": "text", "text": text}}}
}

// told sends each piece of the text as progress, where that was asked for.
func (a *answer) told(id, progress json.RawMessage) {
	if progress != nil {
		for i, piece := range a.pieces() {
			a.data("message", object{"jsonrpc": "2.0", "method": "notifications/progress", "params": object{
				"progressToken": progress, "progress": i + 1, "message": piece,
			}}, newline)
		}
	}
	a.data("message", object{"jsonrpc": "2.0", "id": id, "result": toolResult(a.text())}, newline)
	a.end()
}
