package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/superinstance/keeper/internal/scanner"
)

// Errors of reading gRPC's messages.
var (
	errMessageTooLarge = errors.New("a message is over this keeper's limit")
	errMessageFlag     = errors.New("a message is compressed in a way that was not announced")
	errMessageBroken   = errors.New("a message broke off or cannot be decompressed")
)

const messageHead = 5 // bytes: a flag and the length

// messageReader reads gRPC's messages
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) and scans each.
type messageReader struct {
	src      io.Reader
	coding   string // of those that are compressed; empty: none may be
	limit    int64  // bytes of one, compressed or not
	scanner  *scanner.Scanner
	location string
	whole    *scanner.MessageScan // of the messages as they are
	fields   *scanner.MessageScan // of their texts
	raw      bytes.Buffer
	plain    bytes.Buffer
}

func newMessageReader(s *scanner.Scanner, src io.Reader, coding, location string, limit int64) *messageReader {
	if coding == "identity" {
		coding = ""
	}
	return &messageReader{
		src: src, coding: coding, limit: limit, scanner: s, location: location,
		whole: s.NewMessageScan(location), fields: s.NewMessageScan(location),
	}
}

// next returns a message with its head, as it came, and what was found in it. It is
// valid until the next call. The error is io.EOF where the last one has ended.
func (r *messageReader) next() (frame []byte, found []scanner.Finding, err error) {
	r.raw.Reset()
	if n, err := io.CopyN(&r.raw, r.src, messageHead); err != nil {
		if err == io.EOF && n > 0 {
			err = errMessageBroken
		}
		return nil, nil, err
	}
	head := r.raw.Bytes()
	flag, length := head[0], int64(binary.BigEndian.Uint32(head[1:]))
	switch {
	case flag > 1 || flag == 1 && r.coding == "":
		return nil, nil, errMessageFlag
	case length > r.limit:
		return nil, nil, errMessageTooLarge
	}
	if _, err := io.CopyN(&r.raw, r.src, length); err != nil {
		if err == io.EOF {
			err = errMessageBroken
		}
		return nil, nil, err
	}
	message := r.raw.Bytes()[messageHead:]
	if flag == 0 {
		return r.raw.Bytes(), r.search(message), nil
	}
	if err := r.decompress(message); err != nil {
		return nil, nil, err
	}
	// What follows the end of the compressed data must not go unseen.
	found = append(r.search(r.plain.Bytes()), r.scanner.Scan(message, r.location)...)
	return r.raw.Bytes(), found, nil
}

// search looks for secrets in a message, and in its fields.
func (r *messageReader) search(message []byte) []scanner.Finding {
	found := r.whole.Binary(message)
	texts := fieldTexts(message)
	if texts == nil || slices.ContainsFunc(found, scanner.Finding.Blocks) {
		return found
	}
	more, err := r.fields.Text(texts)
	if err != nil { // they are longer than those of a sequence may be
		more = r.scanner.Scan(texts, r.location)
	}
	return append(found, more...)
}

func (r *messageReader) decompress(message []byte) error {
	r.plain.Reset()
	decoder, err := scanner.NewDecoder(r.coding, bytes.NewReader(message))
	if err != nil {
		return fmt.Errorf("%w: %w", errMessageBroken, err)
	}
	defer decoder.Close()
	n, err := io.Copy(&r.plain, io.LimitReader(decoder, r.limit+1))
	switch {
	case n > r.limit:
		return errMessageTooLarge
	case err != nil:
		return fmt.Errorf("%w: %w", errMessageBroken, err)
	}
	return nil
}
