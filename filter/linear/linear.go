//go:build unix

// Package linear tells how work grows with its input, for the tests of what eats
// hostile bytes.
package linear

import (
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// least is below what a processor's time can be told apart.
const least = 100 * time.Microsecond

// Growth tells how many times as long large takes as small, by the processor time
// of this process, since that of its neighbours does not count, and by the best of
// several tries, since noise only ever adds. It tries no more when the answer is no
// larger than enough.
//
// Under the race detector, whose own cost drowns the work's, both are done once,
// for the detector to see, and the answer is 0.
func Growth(tries int, enough float64, small, large func()) float64 {
	if Raced {
		small()
		large()
		return 0
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // its steps are not the work's
	a, b, x := time.Hour, time.Hour, 0.0
	for range tries {
		a, b = min(a, spent(small)), min(b, spent(large))
		if x = float64(b) / float64(max(a, least)); x <= enough {
			break
		}
	}
	return x
}

func spent(work func()) time.Duration {
	runtime.GC()
	start := processor()
	work()
	return processor() - start
}

// processor cannot fail: the arguments are right.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
