package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// demoProvider is a made-up provider that wants its key, and that gives it
// away where it is asked for a stream.
type demoProvider struct {
	url    string
	key    string
	server *http.Server
	calls  atomic.Int64 // those that bore the key
}

// demoEvent is one event of an OpenAI chat stream.
type demoEvent struct {
	Object  string       `json:"object"`
	Choices []demoChoice `json:"choices"`
}

type demoChoice struct {
	Index int       `json:"index"`
	Delta demoDelta `json:"delta"`
}

type demoDelta struct {
	Content string `json:"content"`
}

func startDemoProvider() (*demoProvider, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the made-up provider: %w", err)
	}
	p := &demoProvider{url: "http://" + socket.Addr().String(), key: "sk-demo-" + randomText(32)}
	p.server = &http.Server{
		Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = p.server.Serve(socket) }() // it ends by stop
	return p, nil
}

func (p *demoProvider) stop() { _ = p.server.Close() }

// served is how many calls have borne the key.
func (p *demoProvider) served() int64 { return p.calls.Load() }

func (p *demoProvider) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+p.key {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintln(w, `{"error":{"message":"You didn't provide an API key.","type":"invalid_request_error","code":null}}`)
		return
	}
	p.calls.Add(1)
	var in struct {
		Stream bool `json:"stream"`
	}
	if json.NewDecoder(r.Body).Decode(&in) == nil && in.Stream {
		p.stream(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintln(w, `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help?"}}]}`)
}

// stream sends the key in pieces of a few characters, one an event.
func (p *demoProvider) stream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	const piece = 9
	text := "Sure, it is " + p.key + " and it is secret."
	events := http.NewResponseController(w)
	for at := 0; at < len(text); at += piece {
		event := demoEvent{Object: "chat.completion.chunk", Choices: []demoChoice{{Delta: demoDelta{text[at:min(at+piece, len(text))]}}}}
		line, err := json.Marshal(event)
		if err != nil {
			return
		}
		fmt.Fprintf(w, "data: %s\n\n", line)
		if events.Flush() != nil {
			return
		}
	}
	io.Copy(w, strings.NewReader("data: [DONE]\n\n"))
}
