// What a person would do with the page about a run, by keys alone; what came of it stands in an attribute.
{
const seen = [];
const press = (key, at) => at.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const shown = (text) => [...document.querySelectorAll("#files [data-text]")].some((leaf) => leaf.dataset.text.endsWith(text) && leaf.checkVisibility());
seen.push(`dark=${matchMedia("(prefers-color-scheme: dark)").matches}`);
seen.push(`back=${getComputedStyle(document.body).backgroundColor}`);
seen.push(`tree=${document.querySelectorAll("#programs summary").length > 2}`);
press("/", document.body);
seen.push(`focus=${document.activeElement.id}`);
const filter = document.activeElement;
const type = (text) => { filter.value = text; filter.dispatchEvent(new Event("input")); };
type("made-here");
seen.push(`fits=${shown("made-here")}`, `other=${shown("other-file")}`);
press("Escape", filter);
seen.push(`empty=${filter.value === ""}`);
document.querySelector("#programs summary").focus();
press("ArrowDown", document.activeElement);
press("ArrowLeft", document.activeElement);
seen.push(`line=${document.activeElement.tagName}`);
seen.push(`scripts=${document.querySelectorAll("script").length}`);
document.body.dataset.seen = seen.join(" ");
}
