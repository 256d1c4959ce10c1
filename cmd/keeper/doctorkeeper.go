package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/netguard"
)

// keeperHealth is what keeper says of itself, and how its clock and ours differ.
type keeperHealth struct {
	Status    string    `json:"status"`
	Version   string    `json:"version"`
	Reason    string    `json:"reason"`
	Proxy     bool      `json:"proxy"`
	Timestamp time.Time `json:"timestamp"`
	Warnings  []struct {
		What    string    `json:"what"`
		Problem string    `json:"problem"`
		Since   time.Time `json:"since"`
	} `json:"warnings"`

	ahead time.Duration // keeper's clock
}

// checkKeeper asks keeper how it is.
func (d *doctor) checkKeeper(ctx context.Context) {
	if d.client.base.Scheme == "http" && !netguard.IsLoopbackURL(d.client.base) {
		d.problem("keeper is reached in clear at "+d.at(), "Whoever is on the way reads the tokens.",
			"export KEEPER_URL=https://"+shellQuote(d.client.base.Host))
	}
	health, err := d.askHealth(ctx)
	if err != nil {
		d.unanswered(err)
		return
	}
	d.healthy = health
	if health.Status != "healthy" {
		d.problem("keeper at "+d.at()+" serves no calls: "+health.Reason, "Every call of an agent is refused until that is mended.", d.own("audit", "verify"))
	} else {
		d.ok("%s answers, version %s", d.at(), health.Version)
	}
	for _, w := range health.Warnings {
		d.warn(w.What+" is in trouble since "+when(w.Since)+": "+w.Problem, "Calls are served, but what is named here is behind or refused.", d.own("status"))
	}
	if own := version(); health.Version != own {
		d.warn("keeper runs version "+health.Version+", and this command is "+own, "An upgrade is in force when keeper is started anew.", "sudo systemctl restart keeper")
	}
	if d.client.base.Scheme == "https" || netguard.IsLoopbackURL(d.client.base) { // not in clear
		d.checkToken(ctx)
	}
}

// at is where keeper is, without a path: within keeper run, that is the run's password.
func (d *doctor) at() string { return d.client.base.Scheme + "://" + d.client.base.Host }

func (d *doctor) askHealth(ctx context.Context) (*keeperHealth, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	var health keeperHealth
	asked := time.Now()
	_, err := d.client.call(ctx, http.MethodGet, "/health", nil, &health)
	var refused *failure
	if errors.As(err, &refused) && refused.answer != nil && json.Unmarshal(refused.answer, &health) == nil && health.Status != "" {
		err = nil
	}
	if err == nil && health.Status == "" {
		err = errors.New("what answers at " + d.at() + " is no keeper")
	}
	now := time.Now()
	health.ahead = health.Timestamp.Sub(asked.Add(now.Sub(asked) / 2))
	return &health, err
}

// unanswered tells of a keeper that is not there: where one was named it should be.
func (d *doctor) unanswered(err error) {
	what, _, _ := strings.Cut(err.Error(), "; ") // what follows is another's mend
	what = strings.ReplaceAll(what, d.client.base.String(), d.at())
	mend := d.ownServe()
	if d.named {
		d.problem(what, "It was named by --url or KEEPER_URL, so that agents and tools ask for it.", mend)
		return
	}
	d.warn(what, "Agents cannot call anything while it is stopped.", mend)
}

// ownServe is the command that starts the keeper that is examined.
func (d *doctor) ownServe() string {
	if d.data == devFolder {
		return ownName() + " dev"
	}
	text := ownName() + " serve"
	if d.configFile != "" {
		text += " --config " + shellQuote(d.configFile)
	}
	if d.dataFlag != "" {
		text += " --data " + shellQuote(d.dataFlag)
	}
	return text
}

// checkToken asks whether keeper takes the token that commands use here.
func (d *doctor) checkToken(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	c, err := d.connect()
	if err != nil {
		d.problem("the token for keeper cannot be had: "+err.Error(), "Commands that ask keeper fail.", "unset KEEPER_ADMIN_TOKEN_FILE")
		return
	}
	if c.token == "" {
		d.note("there is no token here by which commands could ask keeper more")
		return
	}
	_, err = c.call(ctx, http.MethodGet, "/status", nil, nil)
	var refused *failure
	if errors.As(err, &refused) && refused.code == exitUnauthenticated {
		mend := "unset " + c.from
		if c.from != "KEEPER_TOKEN" && c.from != "KEEPER_ADMIN_TOKEN" {
			mend = d.own("status", "--data", "FOLDER") + "   # the data folder of the keeper that runs"
		}
		d.warn("keeper does not take the token from "+c.from, "Commands that ask keeper fail; the token has ended, or is another keeper's.", mend)
	}
}
