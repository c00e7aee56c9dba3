// Compiled and run in the packed runtime: threads, a server that answers itself, TLS's certificates.
package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

func main() {
	var mutex sync.Mutex
	var group sync.WaitGroup
	sum := 0
	for number := range 1000 {
		group.Add(1)
		go func() {
			defer group.Done()
			mutex.Lock()
			defer mutex.Unlock()
			sum += number
		}()
	}
	group.Wait()
	if sum != 499_500 {
		panic(sum)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "served")
	}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "served" {
		panic(fmt.Sprint(body, err))
	}
	roots, err := x509.SystemCertPool()
	if err != nil || roots.Equal(x509.NewCertPool()) {
		panic(fmt.Sprint("no certificates: ", err))
	}
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		panic(err)
	}
	fmt.Println("hello from Go")
}
