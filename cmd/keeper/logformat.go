package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// logger returns the logger that the configuration asks for, which a.logs has log in
// another way.
func (a *app) logger(c LogConfig) (*slog.Logger, error) {
	level, err := c.check()
	if err != nil {
		return nil, err
	}
	a.logs = &logFormats{}
	a.logs.set(level, c.Format)
	return slog.New(a.logs.handler(a.err)), nil
}

// logFormats is how a log is written, of which its handlers ask at each record.
type logFormats struct {
	level  slog.LevelVar
	asJSON atomic.Bool
}

func (f *logFormats) set(level slog.Level, format string) {
	f.level.Set(level)
	f.asJSON.Store(format == "json")
}

func (f *logFormats) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: &f.level}
	return &logHandler{f, slog.NewTextHandler(w, options), slog.NewJSONHandler(w, options)}
}

// logHandler writes each record as text or as JSON.
type logHandler struct {
	formats      *logFormats
	text, inJSON slog.Handler
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.formats.level.Level()
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.formats.asJSON.Load() {
		return h.inJSON.Handle(ctx, r)
	}
	return h.text.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.formats, h.text.WithAttrs(attrs), h.inJSON.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.formats, h.text.WithGroup(name), h.inJSON.WithGroup(name)}
}
