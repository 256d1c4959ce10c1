package backup

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"github.com/superinstance/keeper/internal/secret"
)

// maxRecipients bounds how much work a backup's head is.
const maxRecipients = 64

// Recipients reads those to whom a backup is encrypted: "age1…", "ssh-ed25519 …" or
// "ssh-rsa …" each. Empty lines and comments (#) are passed over. The error says which
// one is none, by its number.
func Recipients(lines []string) ([]age.Recipient, error) {
	var all []age.Recipient
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := recipient(line)
		if err != nil {
			return nil, fmt.Errorf("recipient %d is none: want age1…, ssh-ed25519 … or ssh-rsa …", i+1)
		}
		all = append(all, r...)
	}
	switch {
	case len(all) == 0:
		return nil, errors.New("no recipient is named")
	case len(all) > maxRecipients:
		return nil, fmt.Errorf("there are more than %d recipients", maxRecipients)
	}
	return all, nil
}

func recipient(line string) ([]age.Recipient, error) {
	if strings.HasPrefix(line, "ssh-") {
		r, err := agessh.ParseRecipient(line)
		return []age.Recipient{r}, err
	}
	return age.ParseRecipients(strings.NewReader(line))
}

// Passphrase is the recipient who knows it.
func Passphrase(p secret.Value) (age.Recipient, error) {
	if p.Len() < minPassphrase {
		return nil, fmt.Errorf("the passphrase needs at least %d characters", minPassphrase)
	}
	r, err := age.NewScryptRecipient(string(p.Expose()))
	if err != nil {
		return nil, errors.New("the passphrase cannot be used")
	}
	return r, nil
}

// minPassphrase is as long as that of the vault.
const minPassphrase = 12

// Identities reads those who can decrypt: a file of age's, or an SSH key without a
// passphrase. The error quotes nothing of it.
func Identities(text secret.Value) ([]age.Identity, error) {
	if bytes.Contains(text.Expose(), []byte("-----BEGIN")) {
		id, err := agessh.ParseIdentity(text.Expose())
		if err != nil {
			return nil, errors.New("it is no SSH key that is not under a passphrase; take that off a copy with ssh-keygen -p")
		}
		return []age.Identity{id}, nil
	}
	ids, err := age.ParseIdentities(bytes.NewReader(text.Expose()))
	if err != nil {
		return nil, errors.New("it holds no identity; want AGE-SECRET-KEY-1…, as age-keygen writes it, or an SSH key")
	}
	return ids, nil
}

// PassphraseIdentity is whoever knows the passphrase.
func PassphraseIdentity(p secret.Value) (age.Identity, error) {
	id, err := age.NewScryptIdentity(string(p.Expose()))
	if err != nil {
		return nil, errors.New("the passphrase is empty")
	}
	return id, nil
}
