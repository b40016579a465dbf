package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) policySchema() *cobra.Command {
	c := &cobra.Command{
		Use: "schema", Short: "Print the schema that policies are checked against", Args: cobra.NoArgs,
		Long: "Print the Cedar schema that policies are checked against: every act, every kind of thing and\n" +
			"every attribute, each with what it means. Editors and Cedar's own tools take either form.",
	}
	var form string
	c.Flags().StringVarP(&form, "output", "o", "cedar", "cedar or json")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if form != "cedar" && form != "json" {
			return usageError{fmt.Errorf("-o %q is none of cedar, json", form)}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		s, err := api.PolicySchema(cmd.Context())
		if err != nil {
			return err
		}
		if form == "cedar" {
			_, err = fmt.Fprint(a.out, s.Cedar)
			return err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, s.JSON, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, b.String())
		return err
	}
	return c
}
