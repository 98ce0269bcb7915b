package sbom

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
)

// namespace begins the names of documents that are graft's own.
const namespace = "https://github.com/graftlinux/graft/spdx/"

// SPDX writes all that is known of a subject as a document of SPDX 2.3.
func SPDX(s Subject, created time.Time, by Creator) (*Document, error) {
	b := Merge(s)
	d := newDraft(b.Name, created, by)
	for _, name := range slices.Sorted(maps.Keys(b.Licenses)) {
		d.otherLicense(name, b.Licenses[name])
	}
	declared := map[string]string{"": noAssertion} // by what documents say
	for _, p := range b.Packages {
		if _, ok := declared[p.License]; !ok {
			declared[p.License] = d.licenses([]string{plain(p.License)})
		}
		d.write(p, declared[p.License])
	}
	for _, id := range b.Roots {
		d.relate(self, common.TypeRelationshipDescribe, common.ElementID(id))
	}
	for _, r := range b.Relations {
		d.relate(common.ElementID(r.From), string(r.Kind), common.ElementID(r.To))
	}
	return d.finish(namespace)
}

// spdxPurposes are those of SPDX 2.3, 7.24, as its JSON schema writes them.
var spdxPurposes = []string{
	"APPLICATION", "FRAMEWORK", "LIBRARY", "CONTAINER", "OPERATING_SYSTEM", "DEVICE", "FIRMWARE", "SOURCE", "ARCHIVE", "FILE", "INSTALL", "OTHER",
}

// write adds a package of a merged BOM, under the ID that it has there.
func (d *draft) write(p Package, license string) {
	to := d.newPackage(strings.TrimPrefix(p.ID, "Package-"), orUnnamed(p.Name), p.Version)
	to.PackageSPDXIdentifier = common.ElementID(p.ID)
	to.PackageSourceInfo = plain(p.Origin)
	to.PackageLicenseDeclared = license
	if slices.Contains(spdxPurposes, p.Purpose) {
		to.PrimaryPackagePurpose = p.Purpose
	}
	for _, c := range p.Checksums {
		size, ok := checksumSizes[c.Algorithm]
		if !ok {
			continue
		}
		var err error
		if to.PackageChecksums, err = checksum(to.PackageChecksums, common.ChecksumAlgorithm(c.Algorithm), c.Value, size); err != nil {
			d.warn("the %s %q of %s is left out: %v", c.Algorithm, c.Value, p.Name, err)
		}
	}
	d.cpes(to, p.CPEs)
	if p.PURL != "" {
		d.purl(to, p.PURL)
	}
	if p.Sum != "" && !strings.ContainsAny(p.Sum, " \t\n") {
		addRef(to, common.CategoryOther, "go-sum", p.Sum)
	}
}

// orUnnamed is a name, which SPDX and CycloneDX demand.
func orUnnamed(name string) string {
	if name == "" {
		return "unnamed"
	}
	return name
}

// checksumSizes are the bytes of digests, by their names in SPDX.
var checksumSizes = map[string]int{
	"MD5": 16, "SHA1": 20, "SHA224": 28, "SHA256": 32, "SHA384": 48, "SHA512": 64,
	"SHA3-256": 32, "SHA3-384": 48, "SHA3-512": 64, "BLAKE2b-256": 32, "BLAKE2b-384": 48, "BLAKE2b-512": 64,
}
