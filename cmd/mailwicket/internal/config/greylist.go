package config

import "mailwicket/greylist"

// Params gives the times of the greylist; what has no key is as it is by default.
func (g Greylist) Params() greylist.Params {
	p := greylist.DefaultParams()
	p.Delay, p.RetryWindow, p.PassLifetime = g.Delay.Std(), g.RetryWindow.Std(), g.PassLifetime.Std()
	p.AutoAllowAfter = g.AutoAllowAfter
	p.DoubtfulDelay, p.DoubtfulWindow = g.DoubtfulDelay.Std(), g.DoubtfulWindow.Std()
	return p
}
