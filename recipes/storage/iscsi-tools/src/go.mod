module start-iscsid

go 1.26
