package harness

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a program that was started, with its output kept.
type Process struct {
	cmd  *exec.Cmd
	out  buffer
	done chan struct{}
	err  error // of Wait; read after done
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a program in a process group of its own.
func start(env []string, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Output is all that the program wrote so far, both streams.
func (p *Process) Output() string { return p.out.String() }

// Signal sends a signal to the program itself.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits for the program's end and gives its exit status.
func (p *Process) Wait(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("still running after %v", limit)
	}
}

// Stop ends the program politely, then its whole group by force.
func (p *Process) Stop(limit time.Duration) {
	select {
	case <-p.done:
	default:
		_ = p.Signal(syscall.SIGTERM) // a program that just ended is fine
		_, _ = p.Wait(limit)
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // none left is fine
	<-p.done
}

// answers waits until something listens at the address, or the program ends.
func (p *Process) answers(addr string, limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		select {
		case <-p.done:
			return fmt.Errorf("ended at once: %v\n%s", p.err, p.Output())
		case <-time.After(10 * time.Millisecond):
		}
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return fmt.Errorf("nothing listens at %s after %v\n%s", addr, limit, p.Output())
}

// freePort finds a port that is free on both loopback addresses. Another
// program may take it before it is used, so the range of outgoing connections
// is left out.
func freePort() (int, error) {
	for range 200 {
		n := 10000 + int(time.Now().UnixNano()/1000+int64(os.Getpid())*37)%20000
		time.Sleep(time.Microsecond * 17)
		if portFree(n) {
			return n, nil
		}
	}
	return 0, errors.New("no free port")
}

func portFree(n int) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(n)))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}
