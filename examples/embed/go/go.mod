module example.com/acme/upgrade

go 1.21
