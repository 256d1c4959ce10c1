package fake

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"
)

// bedrock answers Bedrock's Converse API.
func (a *answer) bedrock() {
	parts := strings.Split(a.rec.Path, "/")
	if a.r.Method != http.MethodPost || len(parts) != 4 || parts[1] != "model" || !json.Valid(a.rec.Body) {
		a.fail(http.StatusNotFound)
		return
	}
	switch parts[3] {
	case "converse":
		a.json(a.status(), object{
			"output":     object{"message": object{"role": "assistant", "content": []any{object{"text": a.text()}}}},
			"stopReason": "end_turn", "usage": object{"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}, "metrics": object{"latencyMs": 1},
		})
	case "converse-stream":
		a.converseStream()
	default:
		a.fail(http.StatusNotFound)
	}
}

func (a *answer) converseStream() {
	a.begin(http.StatusOK, "application/vnd.amazon.eventstream")
	a.flush()
	send := func(kind string, fields object) {
		payload, err := marshal(fields)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		a.event(Frame(payload, ":event-type", kind, ":content-type", "application/json", ":message-type", "event"))
	}
	send("messageStart", object{"role": "assistant"})
	for _, piece := range a.pieces() {
		send("contentBlockDelta", object{"contentBlockIndex": 0, "delta": object{"text": piece}})
	}
	send("contentBlockStop", object{"contentBlockIndex": 0})
	send("messageStop", object{"stopReason": "end_turn"})
	send("metadata", object{"usage": object{"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}, "metrics": object{"latencyMs": 1}})
	a.end()
}

// Frame is a frame of AWS's binary event streams: headers come as names and
// texts in turn (https://smithy.io/2.0/aws/amazon-eventstream.html).
func Frame(payload []byte, headers ...string) string {
	var head []byte
	for pair := range slices.Chunk(headers, 2) {
		head = append(append(head, byte(len(pair[0]))), pair[0]...)
		head = append(binary.BigEndian.AppendUint16(append(head, 7), uint16(len(pair[1]))), pair[1]...)
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(16+len(head)+len(payload)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	frame = binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame))
	frame = append(append(frame, head...), payload...)
	return string(binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame)))
}

// awsType names a status as Bedrock does.
func awsType(status int) string {
	switch status {
	case http.StatusForbidden:
		return "InvalidSignatureException"
	case http.StatusNotFound:
		return "ResourceNotFoundException"
	case http.StatusTooManyRequests:
		return "ThrottlingException"
	case http.StatusBadRequest:
		return "ValidationException"
	}
	return "InternalServerException"
}
