// The counts of the states choose what the table of machines shows.
{
  const form = document.querySelector('form[data-for="machines-table"]');
  const select = form.querySelector('[data-match="state"]');
  const buttons = [...document.querySelectorAll("button[data-choose]")];
  form.addEventListener("input", () => {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.choose === select.value);
  });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      select.value = select.value === button.dataset.choose ? "" : button.dataset.choose;
      select.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
}
