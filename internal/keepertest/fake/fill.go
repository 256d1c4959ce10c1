package fake

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Fill makes a body of n bytes and its content type: "random" is noise, "json"
// an array of clean records, anything else plain text. The same arguments give
// the same bytes.
func Fill(kind string, n int) (contentType string, body []byte) {
	switch kind {
	case "random":
		body = make([]byte, n)
		source := rand.NewChaCha8([32]byte{})
		if _, err := source.Read(body); err != nil {
			panic("reading a generator: " + err.Error()) // ChaCha8.Read has no error
		}
		return "application/octet-stream", body
	case "json":
		return "application/json", fillJSON(n)
	}
	return "text/plain; charset=utf-8", repeat("The quick brown fox jumps over the lazy dog. ", n)
}

// fillJSON pads the last string, so that the array has n bytes exactly.
func fillJSON(n int) []byte {
	const end = `{"pad":""}]`
	var out bytes.Buffer
	out.WriteByte('[')
	for i := 0; ; i++ {
		record := fmt.Sprintf(`{"id":%d,"name":"record %d","tags":["alpha","beta"],"ok":true},`, i, i)
		if out.Len()+len(record)+len(end) > n {
			break
		}
		out.WriteString(record)
	}
	pad := max(n-out.Len()-len(end), 0)
	out.WriteString(`{"pad":"`)
	out.Write(repeat("abc ", pad))
	out.WriteString(`"}]`)
	return out.Bytes()
}

func repeat(text string, n int) []byte {
	return bytes.Repeat([]byte(text), n/len(text)+1)[:n]
}
