// Reads a repository that Slipway wrote with chainguard.dev/apko, an implementation of apk that shares nothing with ours nor with apk-tools:
// `go run . <repository> <keys>`, both folders made by write-repository.ts beside this file.
//
// It takes every package apart and verifies its signatures, then fetches the index over HTTP with an access pair, verifies it with each
// key alone, resolves and installs into a file system in memory, and looks whether damaged bytes are refused. Any failure ends it with 1.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"chainguard.dev/apko/pkg/apk/apk"
	"chainguard.dev/apko/pkg/apk/auth"
	"chainguard.dev/apko/pkg/apk/expandapk"
	apkfs "chainguard.dev/apko/pkg/apk/fs"
	"chainguard.dev/apko/pkg/apk/signature"
)

const (
	user   = "SLW-1"
	secret = "s3cret"
	arch   = "x86_64"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run . <repository> <keys>")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("all checks passed")
}

func run(ctx context.Context, repository, keys string) error {
	keyFiles, err := sortedFiles(keys, "*.rsa.pub")
	if err != nil {
		return err
	}
	packages, err := sortedFiles(filepath.Join(repository, arch), "*.apk")
	if err != nil {
		return err
	}
	for _, name := range packages {
		if err := readPackage(ctx, name, keys); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
	}
	for _, keyFile := range keyFiles {
		if err := install(ctx, repository, keyFile, nil); err != nil {
			return fmt.Errorf("with the key %s alone: %w", filepath.Base(keyFile), err)
		}
	}
	for _, damaged := range []string{"APKINDEX.tar.gz", "toy-1.4.0-r0.apk"} {
		if err := install(ctx, repository, keyFiles[0], &damaged); err == nil {
			return fmt.Errorf("a damaged %s was taken", damaged)
		} else {
			fmt.Printf("damaged %s: refused\n", damaged)
		}
	}
	return nil
}

func sortedFiles(folder, pattern string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(folder, pattern))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("there is no %s in %s", pattern, folder)
	}
	sort.Strings(names)
	return names, err
}

// readPackage takes a package apart, verifies each signature over the control section, and parses .PKGINFO.
func readPackage(ctx context.Context, name, keys string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	expanded, err := expandapk.ExpandApk(ctx, file, "")
	if err != nil {
		return err
	}
	defer expanded.Close()
	control, err := expanded.ControlData()
	if err != nil {
		return err
	}
	packed, err := os.ReadFile(expanded.ControlFile)
	if err != nil {
		return err
	}
	checked, err := verify(expanded.SignatureFile, packed, keys)
	if err != nil {
		return err
	}
	info, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	parsed, _, err := apk.ParsePackageInfo(bytes.NewReader(info))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(filepath.Base(name), parsed.Name+"-"+parsed.Version) || len(control) == 0 {
		return fmt.Errorf("says it is %s %s", parsed.Name, parsed.Version)
	}
	if found := fmt.Sprintf("%x", expanded.PackageHash); found != parsed.DataHash {
		return fmt.Errorf("the data has %s, datahash says %s", found, parsed.DataHash)
	}
	fmt.Printf("%s %s (%s): %s verified, datahash fits, size %d, depends on %v\n",
		parsed.Name, parsed.Version, parsed.Arch, strings.Join(checked, " and "), parsed.Size, parsed.Dependencies)
	return nil
}

// verify checks every signature of a signature section over the bytes of the next one.
func verify(signatureFile string, signed []byte, keys string) ([]string, error) {
	file, err := os.Open(signatureFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	var checked []string
	reader := tar.NewReader(unzipped)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return nil, err
		}
		algorithm, keyFile, _ := strings.Cut(strings.TrimPrefix(header.Name, ".SIGN."), ".")
		digestType := map[string]crypto.Hash{"RSA256": crypto.SHA256, "RSA": crypto.SHA1}[algorithm]
		public, err := os.ReadFile(filepath.Join(keys, keyFile))
		if err != nil {
			return nil, err
		}
		hash := digestType.New()
		hash.Write(signed)
		if err := signature.RSAVerifyDigest(hash.Sum(nil), digestType, content, public); err != nil {
			return nil, fmt.Errorf("%s: %w", header.Name, err)
		}
		checked = append(checked, algorithm)
	}
	if len(checked) == 0 {
		return nil, errors.New("no signature")
	}
	return checked, nil
}

// install resolves and installs `toy` and `toy-links` with one trusted key; `damaged` names a file of which the server flips a byte.
func install(ctx context.Context, repository, keyFile string, damaged *string) error {
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if name, password, _ := request.BasicAuth(); name != user || password != secret {
			http.Error(response, "no", http.StatusUnauthorized)
			return
		}
		content, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(filepath.Clean(request.URL.Path))))
		if err != nil {
			http.NotFound(response, request)
			return
		}
		if damaged != nil && strings.HasSuffix(request.URL.Path, "/"+*damaged) {
			content[len(content)-40] ^= 1
		}
		http.ServeContent(response, request, "", time.Unix(1_780_000_000, 0), bytes.NewReader(content))
	}))
	defer server.Close()
	root := apkfs.NewMemFS()
	host := strings.TrimPrefix(server.URL, "http://")
	client, err := apk.New(ctx, apk.WithFS(root), apk.WithArch(arch), apk.WithAuthenticator(auth.StaticAuth(host, user, secret)), apk.WithIgnoreMknodErrors(true))
	if err != nil {
		return err
	}
	if err := client.InitDB(ctx); err != nil {
		return err
	}
	if err := client.InitKeyring(ctx, []string{keyFile}, nil); err != nil {
		return err
	}
	if err := client.SetRepositories(ctx, []string{server.URL}); err != nil {
		return err
	}
	if err := client.SetWorld(ctx, []string{"toy", "toy-links"}); err != nil {
		return err
	}
	if _, err := client.FixateWorld(ctx, nil); err != nil {
		return err
	}
	return inspect(client, root)
}

// inspect says what is installed and compares some of it.
func inspect(client *apk.APK, root apkfs.FullFS) error {
	installed, err := client.GetInstalled()
	if err != nil {
		return err
	}
	var names []string
	for _, one := range installed {
		names = append(names, one.Name+"-"+one.Version)
	}
	sort.Strings(names)
	if got := strings.Join(names, " "); got != "toy-1.4.0-r0 toy-links-1.4.0-r0 toy-shell-1.0.0-r3" {
		return fmt.Errorf("installed is %s", got)
	}
	program, err := root.ReadFile("usr/bin/toy")
	if err != nil || string(program) != "#!/bin/sh\necho 1.4.0\n" {
		return fmt.Errorf("usr/bin/toy is %q: %w", program, err)
	}
	target, err := root.Readlink("usr/bin/toyctl")
	if err != nil || target != "toy" {
		return fmt.Errorf("usr/bin/toyctl leads to %q: %w", target, err)
	}
	stat, err := root.Stat("usr/bin/toy-setuid")
	if err != nil || stat.Mode()&os.ModeSetuid == 0 {
		return fmt.Errorf("usr/bin/toy-setuid: %v %w", stat, err)
	}
	fmt.Printf("installed from a signed index: %s\n", strings.Join(names, ", "))
	return nil
}
