package api

import (
	"context"
	"encoding/base64"

	"golang.org/x/mod/sumdb/tlog"
)

type checkpointBody struct {
	Checkpoint string `json:"checkpoint" doc:"A signed note (C2SP tlog-checkpoint): origin, size, root hash"`
	Vouching
}

// Vouching is whose signature it is.
type Vouching struct {
	PublicKey   string   `json:"publicKey" doc:"The key that the checkpoint is signed with, as signed notes write it"`
	Successions []string `json:"successions,omitempty" doc:"Where the key was changed: the heads by which keys took over, the first one first, each signed by the key of before and by the next"`
}

func (s *surface) vouchFor(checkpoint []byte) (v Vouching) {
	key, successions := s.audit.SignedBy(checkpoint)
	v.PublicKey = key
	for _, head := range successions {
		v.Successions = append(v.Successions, string(head))
	}
	return v
}

func (s *surface) checkpoint(ctx context.Context, _ *struct{}) (*output[checkpointBody], error) {
	signed, err := s.audit.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	return &output[checkpointBody]{checkpointBody{string(signed), s.vouchFor(signed)}}, nil
}

type proofInput struct {
	ID   int64 `query:"id" minimum:"1" doc:"The entry to prove; or from"`
	From int64 `query:"from" minimum:"1" doc:"The size of an earlier head from which the log goes on; or id"`
}

type proofBody struct {
	ID         int64    `json:"id,omitempty" doc:"The entry's number; its leaf has the index id - 1"`
	Leaf       string   `json:"leaf,omitempty" doc:"The entry as the tree has it, byte for byte"`
	From       int64    `json:"from,omitempty"`
	Path       []string `json:"path" nullable:"false" doc:"RFC 6962 section 2.1.1 for an entry, 2.1.2 for a head; hashes in base64"`
	Checkpoint string   `json:"checkpoint" doc:"The signed head that the proof leads to"`
	Vouching
}

func (s *surface) proof(ctx context.Context, in *proofInput) (*output[proofBody], error) {
	body := proofBody{ID: in.ID, From: in.From}
	switch {
	case (in.ID == 0) == (in.From == 0):
		return nil, &fieldError{"id", "give either id, to prove an entry, or from, to prove that the log goes on"}
	case in.ID > 0:
		p, err := s.audit.Prove(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		body.Leaf, body.Path, body.Checkpoint = string(p.Leaf), hashTexts(p.Path), string(p.Checkpoint)
	default:
		path, signed, err := s.audit.Consistency(ctx, in.From)
		if err != nil {
			return nil, err
		}
		body.Path, body.Checkpoint = hashTexts(path), string(signed)
	}
	body.Vouching = s.vouchFor([]byte(body.Checkpoint))
	return &output[proofBody]{body}, nil
}

func hashTexts(hashes []tlog.Hash) []string {
	texts := make([]string, len(hashes))
	for i, h := range hashes {
		texts[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	return texts
}
