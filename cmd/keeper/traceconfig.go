package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/telemetry"
)

// TracesConfig says where spans of calls go, by OTLP/HTTP. Where it names no endpoint,
// OpenTelemetry's own variables count.
type TracesConfig struct {
	// URL of an OTLP/HTTP collector for [traces](monitoring.md#traces), such as `http://127.0.0.1:4318/v1/traces`.
	// Default: OpenTelemetry's variables count.
	Endpoint string `yaml:"endpoint"`
	// File with the headers that go to the collector, `name=value`, with commas between.
	HeadersFile string `yaml:"headersFile"`
	// PEM file of what the collector's certificate is checked by. Default: the system's.
	CAFile string `yaml:"caFile"`
	// Keeper's name there (`service.name`). Default: `keeper`.
	Service string `yaml:"service"`
	// As `OTEL_TRACES_SAMPLER` has it. Values: `always_on`, `always_off`, `traceidratio`,
	// `parentbased_always_on`, `parentbased_always_off`, `parentbased_traceidratio`.
	// Default: `parentbased_traceidratio`.
	Sampler string `yaml:"sampler"`
	// Part of the traces that a ratio sampler keeps, from 0 to 1. Default: `1`.
	SampleRatio *float64 `yaml:"sampleRatio"`
}

// traces is where spans go. What OpenTelemetry's variables say is for other programs,
// too: where it cannot be followed, keeper starts without traces and says so.
func (a *app) traces(c TracesConfig, logger *slog.Logger) (telemetry.Traces, error) {
	if c.Endpoint == "" {
		if c != (TracesConfig{}) {
			return telemetry.Traces{}, errors.New("traces.endpoint: it is missing, so that there would be no traces; give it, or leave traces out")
		}
		t, err := a.tracesOfEnvironment()
		if err == nil {
			err = t.Check()
		}
		if err != nil {
			logger.Warn("no traces", "problem", err.Error())
			return telemetry.Traces{}, nil
		}
		return t, nil
	}
	t := telemetry.Traces{Endpoint: c.Endpoint, CAFile: c.CAFile, Service: c.Service, Sampler: c.Sampler, Ratio: c.SampleRatio}
	if err := t.Check(); err != nil {
		return t, fmt.Errorf("traces.%w", err)
	}
	if c.HeadersFile == "" {
		return t, nil
	}
	text, err := readFile(c.HeadersFile, maxSecretBytes)
	if err != nil {
		return t, fmt.Errorf("traces.headersFile: %w", err)
	}
	if t.Headers, err = parseHeaders(strings.TrimSpace(string(text))); err != nil {
		return t, fmt.Errorf("traces.headersFile: %w", err)
	}
	return t, nil
}

// The variables that may hold a collector's credential.
var headerVariables = []string{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"}

// tracesOfEnvironment reads OpenTelemetry's variables, as its specification of the OTLP
// exporter has them; those for traces alone go before the others. The zero Traces:
// nobody asks for any.
func (a *app) tracesOfEnvironment() (t telemetry.Traces, err error) {
	general := a.env["OTEL_EXPORTER_OTLP_ENDPOINT"]
	t.Endpoint = a.env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
	if t.Endpoint == "" && general != "" {
		t.Endpoint = strings.TrimRight(general, "/") + "/v1/traces"
	}
	if t.Endpoint == "" || strings.EqualFold(a.env["OTEL_SDK_DISABLED"], "true") || firstOf(a.env["OTEL_TRACES_EXPORTER"], "otlp") != "otlp" {
		return telemetry.Traces{}, nil
	}
	if p := firstOf(a.env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"], a.env["OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf"); p != "http/protobuf" {
		return t, errors.New("OTEL_EXPORTER_OTLP_PROTOCOL: keeper speaks http/protobuf alone; set it, or traces.endpoint")
	}
	if t.Headers, err = parseHeaders(firstOf(a.env[headerVariables[0]], a.env[headerVariables[1]])); err != nil {
		return t, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: %w", err)
	}
	t.CAFile = firstOf(a.env["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"], a.env["OTEL_EXPORTER_OTLP_CERTIFICATE"])
	t.Service, t.Sampler = a.env["OTEL_SERVICE_NAME"], a.env["OTEL_TRACES_SAMPLER"]
	if text := a.env["OTEL_TRACES_SAMPLER_ARG"]; text != "" {
		ratio, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return t, errors.New("OTEL_TRACES_SAMPLER_ARG: want a number from 0 to 1")
		}
		t.Ratio = &ratio
	}
	return t, nil
}

// parseHeaders reads "name=value,name=value", escaped as in W3C Baggage. Its errors
// quote nothing.
func parseHeaders(text string) (put func(http.Header), err error) {
	if text == "" {
		return nil, nil
	}
	headers := http.Header{}
	for one := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(one, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || name == "" || err != nil || strings.ContainsAny(name+value, "\r\n") || strings.ContainsAny(name, " :\t") {
			return nil, errors.New("want name=value, with commas between")
		}
		headers.Set(name, value)
	}
	return func(h http.Header) { maps.Copy(h, headers) }, nil
}
