package proxy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"github.com/superinstance/keeper/internal/policy"
)

// shaped is a refusal as it goes out.
type shaped struct {
	status      int
	contentType string
	body        []byte // nil: what there is to say is in the headers
}

// shapes is the one table from a route's kind of refusal to the answer that its
// clients show. A kind that is not in it gets the universal one.
var shapes = map[string]func(p *Proxy, w http.ResponseWriter, c *call, r *refusal) shaped{
	policy.RefusalUniversal: (*Proxy).universalReply,
	policy.RefusalSlack:     (*Proxy).slackReply,
	policy.RefusalGit:       (*Proxy).gitReply,
	policy.RefusalGRPC:      (*Proxy).grpcReply,
	policy.RefusalS3XML:     (*Proxy).s3Reply,
	policy.RefusalAWSJSON:   (*Proxy).awsReply,
	policy.RefusalJSONRPC:   (*Proxy).jsonrpcReply,
}

// writeRefusal answers in the shape that the route's clients show.
func (p *Proxy) writeRefusal(w http.ResponseWriter, c *call, r *refusal) {
	c.ended(r)
	refusalHeaders(w.Header(), r)
	shape, known := shapes[p.refusalShape(c)]
	if !known {
		shape = (*Proxy).universalReply
	}
	answer := shape(p, w, c, r)
	if answer.body == nil {
		w.Header().Set("Content-Type", answer.contentType)
		w.WriteHeader(answer.status)
		return
	}
	writeBody(w, answer.status, answer.contentType, answer.body)
}

func (p *Proxy) universalReply(_ http.ResponseWriter, c *call, r *refusal) shaped {
	return shaped{c.status(r), "application/json", p.universalBody(c, r)}
}

// slackReply is HTTP 200, since Slack's client retries everything else. It throws
// the code, and writes to its log what response_metadata.messages has.
func (p *Proxy) slackReply(_ http.ResponseWriter, c *call, r *refusal) shaped {
	return shaped{http.StatusOK, "application/json", encode(map[string]any{
		"ok": false, "error": r.code, "message": r.sentence(), "documentation_url": p.page(c, r),
		"response_metadata": map[string]any{"messages": []string{"[ERROR] " + r.sentence()}},
	})}
}

// gitReply is plain text, which git prints behind "remote:" where it asks for a
// repository's refs. Of what it is answered to a pack it prints nothing but the
// status: there an error of git's own protocol says it. A challenge makes git send
// the password that it kept back in its first try; to one that has sent a bad token
// by a header of its own, 403 is what stops it from asking its user for a password
// instead.
func (p *Proxy) gitReply(w http.ResponseWriter, c *call, r *refusal) shaped {
	if service, ok := gitService(c); ok && r.code != codeTokenMissing && !retryable(r) {
		return shaped{http.StatusOK, "application/x-" + service + "-result", gitErrors[service](r.sentence())}
	}
	status := kindOf(r.code).status
	switch {
	case status != http.StatusUnauthorized:
	case len(c.taken.tokens) > 0 && !c.taken.basic:
		status = http.StatusForbidden
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="keeper"`)
	}
	return shaped{status, "text/plain; charset=utf-8", []byte(r.sentence() + "\n")}
}

// gitErrors write an error as the two services do: to a fetch as a line of its own
// (gitprotocol-pack, "ERR"), to a push in the side band for fatal errors, which all
// clients ask for (gitprotocol-capabilities, "side-band-64k").
var gitErrors = map[string]func(sentence string) []byte{
	"git-upload-pack":  func(sentence string) []byte { return packetLine("ERR " + sentence + "\n") },
	"git-receive-pack": func(sentence string) []byte { return append(packetLine("\x03"+sentence+"\n"), "0000"...) },
}

// gitService is the service to which a call is a request of git's own.
func gitService(c *call) (string, bool) {
	name, isRequest := strings.CutSuffix(strings.TrimPrefix(media(c.header), "application/x-"), "-request")
	_, known := gitErrors[name]
	return name, isRequest && known && c.method == http.MethodPost && strings.HasSuffix(c.path, "/"+name)
}

// packetLine is a line with its length before it, as four hexadecimal digits.
func packetLine(text string) []byte { return fmt.Appendf(nil, "%04x%s", len(text)+4, text) }

// awsCode names a status as S3 does, and with "Exception" behind it as the JSON
// protocols do. None of these makes an AWS client refresh its credentials.
func awsCode(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "AccessDenied"
	case http.StatusNotFound:
		return "ResourceNotFound"
	case http.StatusTooManyRequests:
		return "Throttling"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable"
	}
	if status < http.StatusInternalServerError {
		return "Validation"
	}
	return "InternalServer"
}

// s3Reply is the error document of S3's REST API. To HEAD it has no body, and
// S3's clients then show the status alone.
func (p *Proxy) s3Reply(w http.ResponseWriter, c *call, r *refusal) shaped {
	status := kindOf(r.code).status
	w.Header().Set("X-Amz-Request-Id", c.id)
	body, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: awsCode(status), Message: r.sentence(), RequestID: c.id})
	if err != nil { // strings alone cannot fail to encode
		body = []byte("<Error></Error>")
	}
	return shaped{status, "application/xml", append([]byte(xml.Header), body...)}
}

func (p *Proxy) awsReply(w http.ResponseWriter, c *call, r *refusal) shaped {
	status := kindOf(r.code).status
	name := awsCode(status) + "Exception"
	w.Header().Set("X-Amzn-Errortype", name)
	w.Header().Set("X-Amzn-Requestid", c.id)
	return shaped{status, "application/json", encode(map[string]any{"__type": name, "message": r.sentence()})}
}

// jsonrpcDenied is keeper's error code, of those that JSON-RPC leaves to servers.
const jsonrpcDenied = -32001

// jsonrpcReply is HTTP 200 and an error for each request of the body, so that
// it reaches whoever waits for the answer. What cannot be told apart so (no
// body, no id) and what a retry can mend is told by the status instead.
func (p *Proxy) jsonrpcReply(w http.ResponseWriter, c *call, r *refusal) shaped {
	if retryable(r) || r.code == codeTooLarge {
		return p.universalReply(w, c, r)
	}
	ids, batch := p.jsonrpcIDs(w, c)
	switch {
	case len(ids) == 0:
		return p.universalReply(w, c, r)
	case !batch:
		return shaped{http.StatusOK, "application/json", p.jsonrpcError(c, r, ids[0])}
	}
	var all [][]byte
	for _, id := range ids {
		all = append(all, p.jsonrpcError(c, r, id))
	}
	body := append([]byte("["), bytes.Join(all, []byte(","))...)
	return shaped{http.StatusOK, "application/json", append(body, ']')}
}

func (p *Proxy) jsonrpcError(c *call, r *refusal, id json.RawMessage) []byte {
	return encode(map[string]any{"jsonrpc": "2.0", "id": id, "error": map[string]any{
		"code": jsonrpcDenied, "message": r.sentence(), "data": map[string]any{"code": r.code, "requestId": c.id, "documentationUrl": p.page(c, r)},
	}})
}

const (
	maxIDs     = 64  // of one batch
	maxIDBytes = 128 // as JSON
)

// jsonrpcIDs returns the ids of the requests in the call's body, and whether it
// is a batch. The body of a call that was refused before it was read is read
// now, within what a stranger may send. Nil means that there are none that can be
// sent back: of a notification, of a body that is spooled, or of what is no JSON.
func (p *Proxy) jsonrpcIDs(w http.ResponseWriter, c *call) (ids []json.RawMessage, batch bool) {
	text := c.read
	if !c.begun && c.method == http.MethodPost && c.header.Get("Content-Encoding") == "" {
		c.begun = true
		var err error
		if text, err = p.readUnproven(w, c); err != nil || len(text) > envelopeBytes {
			return nil, false
		}
	}
	var messages []json.RawMessage
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] == '[' {
		batch = true
		if json.Unmarshal(text, &messages) != nil || len(messages) > maxIDs {
			return nil, true
		}
	} else {
		messages = []json.RawMessage{text}
	}
	for _, message := range messages {
		if id := p.jsonrpcID(message); id != nil {
			ids = append(ids, id)
		}
	}
	return ids, batch
}

// jsonrpcID is the id of one request. One that holds a secret is not sent back,
// nor is anything that is neither a text nor a number.
func (p *Proxy) jsonrpcID(message []byte) json.RawMessage {
	var request struct {
		ID     json.RawMessage `json:"id"`
		Method *string         `json:"method"`
	}
	if json.Unmarshal(message, &request) != nil || request.Method == nil {
		return nil
	}
	id := request.ID
	if len(id) == 0 || len(id) > maxIDBytes || id[0] != '"' && id[0] != '-' && (id[0] < '0' || id[0] > '9') {
		return nil
	}
	if len(p.scanner.Scan(id, "id")) > 0 {
		return nil
	}
	return id
}

// encode writes what cannot fail to encode: maps of texts and checked JSON.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	return body
}
