// Command go is a Go program as anyone writes one: net/http with its defaults.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(how, prompt, base, key string) error {
	ask, err := json.Marshal(map[string]any{
		"model": "gpt-fake", "stream": how == "stream", "messages": []any{map[string]string{"role": "user", "content": prompt}},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, base+"/v1/chat/completions", strings.NewReader(string(ask)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return show(resp.Body, how == "stream")
}

type message struct{ Content string }

func show(body io.Reader, stream bool) error {
	var said struct {
		Choices []struct{ Message, Delta message }
	}
	if !stream {
		if err := json.NewDecoder(body).Decode(&said); err != nil {
			return err
		}
		fmt.Println(said.Choices[0].Message.Content)
		return nil
	}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: {")
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte("{"+data), &said); err != nil {
			return err
		}
		fmt.Println(said.Choices[0].Delta.Content)
	}
	return lines.Err()
}
