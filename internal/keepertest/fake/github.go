package fake

import (
	"encoding/json"
	"net/http"
	"strings"
)

func (a *answer) github() {
	path := strings.TrimPrefix(strings.TrimPrefix(a.rec.Path, "/api/v3"), "/api") // of an Enterprise Server
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case isGit(a.rec.Path):
		a.git()
	case path == "/user":
		a.json(a.status(), user(a.text()))
	case path == "/graphql" && a.r.Method == http.MethodPost:
		a.json(a.status(), object{"data": object{"viewer": object{"login": "octo", "name": a.text()}}})
	case len(parts) == 3 && parts[0] == "repos" && a.r.Method == http.MethodGet:
		a.json(a.status(), repository(parts[1], parts[2], a.text()))
	case len(parts) == 4 && parts[0] == "repos" && parts[3] == "issues":
		a.issues()
	default:
		a.fail(http.StatusNotFound)
	}
}

func user(bio string) object {
	return object{"login": "octo", "id": 1, "type": "User", "name": "Octo Fake", "bio": bio}
}

func repository(owner, name, description string) object {
	return object{
		"id": 1, "name": name, "full_name": owner + "/" + name, "private": false, "owner": object{"login": owner, "id": 1},
		"description": description, "default_branch": "main",
	}
}

func (a *answer) issues() {
	if a.r.Method == http.MethodGet {
		a.json(a.status(), []any{object{"id": 1, "number": 1, "state": "open", "title": "One", "body": a.text()}})
		return
	}
	var asked struct {
		Title string `json:"title"`
	}
	if a.r.Method != http.MethodPost || json.Unmarshal(a.rec.Body, &asked) != nil || asked.Title == "" {
		a.json(http.StatusUnprocessableEntity, failureBody("github", http.StatusUnprocessableEntity, "Validation Failed"))
		return
	}
	a.json(http.StatusCreated, object{
		"id": 2, "number": 2, "state": "open", "title": asked.Title, "body": a.text(), "user": user(""),
	})
}
